"""Solvers as plain functions on arrays; the estimators one folder up are thin."""
