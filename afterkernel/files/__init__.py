"""Reading files safely: regular files, plain YAML, and JSON that is checked against types."""
