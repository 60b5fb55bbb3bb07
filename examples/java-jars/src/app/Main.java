package app;

import greeting.Greeting;

public class Main {
    public static void main(String[] args) {
        System.out.println(Greeting.of(args[0]));
    }
}
