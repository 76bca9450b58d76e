"""A made-up city to try the product on: persons, parcels, police reports and cases that nobody lived."""
