"""The forms in which other tools have annotations, one module for each tool."""
