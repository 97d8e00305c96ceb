"""The tables of measured numbers on the pages, each made whole from the records in results/.

A page marks the place of a table with two lines:

    <!-- table gans-10000 -->
    <!-- end of table -->

`python3 -m tools.readme` writes the table of that name between them. Each module has its tables in
a dict TABLES from names to functions.
"""
