"""aiohttp handlers: HTTP in, core vocabulary out, and back."""
