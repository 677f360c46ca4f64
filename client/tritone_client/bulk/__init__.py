"""`tritone bulk` and `tritone similar`: a row for each recording of a library, and similar ones among them."""
