"""Reading files that others may have written: only regular files, and YAML that is data alone."""
