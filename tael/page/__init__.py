"""The look of every page: takes headings, tables, numbers; gives HTML and SVG to any room."""
