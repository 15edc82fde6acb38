"""What commands print: tables and texts for people, and values for programs."""
