"""The commands: one small file each; click and rich live here and nowhere else."""
