"""Commands that send feedback which people gave elsewhere."""
