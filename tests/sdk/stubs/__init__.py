"""Stub providers: one engine, and a small module per API that knows its words. They know nothing of Holdfast."""
