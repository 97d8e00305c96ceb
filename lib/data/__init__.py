"""The data sets of the book, and folders of images."""
