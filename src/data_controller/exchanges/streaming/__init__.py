"""What venues share whose frames are JSON and whose streams have names: compiled reading, decoder, subscriptions."""
