"""What a trainer needs to use a reward, ready to launch: the reward as a file, the data in its form, the command."""
