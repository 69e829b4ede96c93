"""From features to numbers with errors: anywhere, later, again. numpy only, no torch."""
