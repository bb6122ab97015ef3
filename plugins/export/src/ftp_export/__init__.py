"""A run's model for other programs: their converters (`converters`), and `ftp export` (`command`)."""
