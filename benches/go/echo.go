package main

import (
	"fmt"
	"net"
)

// echo serves until the process ends: a goroutine per connection. net.Conn has TCP_NODELAY set from the start.
func echo(setup) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err == nil)
	fmt.Println("LISTENING", listener.Addr())
	for {
		if conn, err := listener.Accept(); err == nil {
			go serve(conn)
		}
	}
}

func serve(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, 16*1024)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if _, err := conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}
