"""What only maintainers run: tables, pages, notebooks, figures, and exporting all networks."""
