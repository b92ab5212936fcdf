"""Where Optuna and SQL live: what is searched, who suggests, who prunes, what is stored, and the loop."""
