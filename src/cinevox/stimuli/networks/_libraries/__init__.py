"""Libraries of networks: one file each, whose `SPEC` makes the NetworkSpec of one of its models.

Called with the model's name (behind the slash in `networks.<name>.model`) and the entry of the parameters.
"""
