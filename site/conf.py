"""Settings of Sphinx; build_pages.py copies this file next to the pages that it writes."""

project = "Advanced Deep Learning with Keras, as scripts that run"
extensions = ["myst_parser"]
myst_enable_extensions = ["html_image"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = "Advanced Deep Learning with Keras"
html_favicon = "favicon.svg"
html_static_path = ["pages.css"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_copyright = False
smartquotes = False
highlight_language = "text"
