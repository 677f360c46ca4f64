"""`tritone bulk` and `tritone similar`: a row per recording of a library, and search for similar ones."""
