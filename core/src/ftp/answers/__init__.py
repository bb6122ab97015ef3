"""What plugins give back: of which kind each part has to be, and errors that name the plugin at fault."""
