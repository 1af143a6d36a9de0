"""Files in and out, none of which is trusted."""
