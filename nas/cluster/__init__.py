"""Ray: started or joined, its workers' shares of a machine, and how a signal stops it."""
