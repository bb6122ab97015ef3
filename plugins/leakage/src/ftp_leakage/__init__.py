"""Find evaluation rows that leak into training rows."""
