"""The tiny base model of the examples: skills.toml says what it can do, make.py makes it."""
