"""A made-up city to try the product on: persons, deliveries, police reports and criminal cases that nobody lived."""
