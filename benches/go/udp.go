package main

import (
	"net"
	"net/netip"
	"sync"
)

// udpBytes is the length of a small request.
const udpBytes = 64

func udpSocket() (*net.UDPConn, netip.AddrPort) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	check(err == nil)
	return conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// udpEcho makes n round trips in all, of some clients with a server that echoes by one socket and one goroutine.
func udpEcho(clients int) func(n int) int {
	return func(n int) int {
		server, addr := udpSocket()
		defer server.Close()
		each := n / clients
		var all sync.WaitGroup
		all.Go(func() {
			var buf [2048]byte
			for range each * clients {
				n, from, err := server.ReadFromUDPAddrPort(buf[:])
				check(err == nil)
				_, err = server.WriteToUDPAddrPort(buf[:n], from)
				check(err == nil)
			}
		})
		for i := range clients {
			all.Go(func() {
				client, _ := udpSocket()
				defer client.Close()
				var out [udpBytes]byte
				out[0] = byte(i)
				var in [2048]byte
				for range each {
					_, err := client.WriteToUDPAddrPort(out[:], addr)
					check(err == nil)
					n, _, err := client.ReadFromUDPAddrPort(in[:])
					check(err == nil && n == udpBytes && in[0] == byte(i))
				}
			})
		}
		all.Wait()
		return each * clients
	}
}
