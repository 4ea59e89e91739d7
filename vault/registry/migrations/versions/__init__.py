"""One module for each change of the tables, named after its revision."""
