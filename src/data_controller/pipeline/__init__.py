"""Records in, actions out: the one place where market, features, prediction and trading meet."""
