"""Many runs: their plan, and running them on one machine or a cluster."""
