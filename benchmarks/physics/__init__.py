"""The long physics checks of a student: each writes a JSON file, and ``page`` makes a page of the docs from them."""
