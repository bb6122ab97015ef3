"""Tell whether a text praises or complains."""
