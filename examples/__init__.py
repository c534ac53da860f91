"""Small complete uses of clorad: a base model anyone can train, and a company's house rules to learn."""
