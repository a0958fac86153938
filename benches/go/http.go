package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
)

// hello serves HTTP/1 and, without TLS, HTTP/2 until the process ends. Under /nap it does so after 200 ms in a system call.
func hello(setup) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err == nil)
	fmt.Println("LISTENING", listener.Addr())
	http.HandleFunc("/", say)
	http.HandleFunc("/nap", func(w http.ResponseWriter, r *http.Request) {
		nap := syscall.NsecToTimespec(200_000_000)
		_ = syscall.Nanosleep(&nap, nil)
		say(w, r)
	})
	server := http.Server{Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 2000}}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	_ = server.Serve(listener)
}

func say(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "Hello, World!")
}
