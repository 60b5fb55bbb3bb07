package gojob

import (
	_ "github.com/Shopify/toxiproxy/v2"
	_ "github.com/creack/pty"
)
