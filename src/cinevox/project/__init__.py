"""The project around a run: parameters, paths, plug-ins, git, DVC's lock."""
