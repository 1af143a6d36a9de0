"""Outlets: where results go. The report, MLflow, the gate, and the challenge."""
