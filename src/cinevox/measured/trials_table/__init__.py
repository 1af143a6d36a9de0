"""The trials table: a folder that holds any study as trials, units, stimuli and betas. See docs/import.md."""
