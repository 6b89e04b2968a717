"""`make mutants`: breaks the product in one small way at a time and asks whether its tests notice.

Our own rather than mutmut or cosmic-ray: neither mutates Lua, and both know one test command for the whole project.
"""
