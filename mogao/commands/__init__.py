"""What the verbs of the command line do; `mogao.cli` holds their options."""
