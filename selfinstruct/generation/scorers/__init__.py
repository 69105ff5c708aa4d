"""Scorers: each says in one number how good an answer is. Pure prompts and parsers, each with a thin edge."""
