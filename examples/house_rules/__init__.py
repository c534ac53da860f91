"""The demo: a company whose agents learn its house rules from the people around them."""
