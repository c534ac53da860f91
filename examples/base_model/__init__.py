"""The tiny base model of the examples: what it can do is skills.toml, how it is made is make.py."""
