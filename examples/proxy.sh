#!/bin/sh
# A transparent proxy: the client asks 10.0.2.1, port 80; the router in between takes
# the connection itself and answers in the server's name.
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
cat >"$dir/answer" <<'EOF'
#!/bin/sh
read -r get path rest
printf 'HTTP/1.0 200 OK\r\n\r\nyou asked for %s, and I am a proxy\n' "$path"
EOF
chmod +x "$dir/answer"
stdpkt run --right 10.0.1.1/24 --gateway 10.0.1.254 --name client -- \
    curl -s --max-time 20 --retry 9 --retry-connrefused --retry-delay 1 http://10.0.2.1/index.html |
stdpkt run --left 10.0.1.254/24 --right 10.0.2.254/24 --forward --name proxy \
    --setup 'iptables -t nat -A PREROUTING -i left -p tcp --dport 80 -j REDIRECT --to-ports 8080' -- \
    socat TCP-LISTEN:8080,fork,reuseaddr EXEC:"$dir/answer" |
stdpkt run --left 10.0.2.1/24 --gateway 10.0.2.254 --name server
