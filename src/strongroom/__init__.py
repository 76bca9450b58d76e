"""Keeps the personal records of very many people sealed on object storage: public names, no logic."""
