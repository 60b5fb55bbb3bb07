package contract_test

import (
	_ "github.com/pb33f/libopenapi"
	_ "github.com/pb33f/libopenapi-validator"
)
