"""Statistics on arrays: scores, their uncertainty, chance, and how clips are split. Nothing here knows a file."""
