"""How good a model is: judges that read pictures, rules that score them, suites that run them."""
