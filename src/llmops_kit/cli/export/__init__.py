"""What the kit holds, written in the words of other tools."""
