"""Who proposes architectures: samplers by name, and what they predict with."""
