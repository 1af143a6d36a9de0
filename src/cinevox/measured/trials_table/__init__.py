"""The trials table: one folder of tables and arrays that holds any study. The format is in docs/trials.md.

`layout` has the names of files and columns, `tables` reads and checks them, `betas` opens the arrays, `rois` finds the
units of a region, `split` says which stimuli train and which test, `reading` puts a study together, and `writing`
writes one.
"""
